"""
Resumable uploads for HTTP, the IETF's draft: any upload of a file becomes one by a field Upload-Complete.

Source: draft-ietf-httpbis-resumable-upload, of which interop versions 5, 6 and 8 are spoken, and requests that name none,
as those of the final document will.
"""

"""Authentication, and integrity of requests: AWS Signature Version 4, verified, for heads, bodies and forms."""

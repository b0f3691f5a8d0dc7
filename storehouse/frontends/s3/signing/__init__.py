"""Who makes a request, and whether it came as it was sent: AWS Signature Version 4, verified, for heads, bodies and forms."""

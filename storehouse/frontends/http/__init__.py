"""What the HTTP doors share: streaming bodies, the fast lane, strict framing, the error table."""

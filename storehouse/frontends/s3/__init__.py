"""The S3 door: buckets and objects for every client of Amazon's protocol."""

"""tus 1.0.0: resumable uploads. Source: https://tus.io/protocols/resumable-upload"""

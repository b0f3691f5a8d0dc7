"""tus 1.0.0: uploads that can be gone on with. Source: https://tus.io/protocols/resumable-upload"""

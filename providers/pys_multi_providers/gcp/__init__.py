"""Google Cloud: Cloud Run functions, and what stands around them."""

"""What is measured: one module for each library, one for each store's floor."""

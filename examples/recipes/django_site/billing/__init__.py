"""The application: customers, and who has charged them."""

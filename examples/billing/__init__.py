"""The billing case: four servers elect the one that charges the customers."""

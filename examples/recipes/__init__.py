"""Programs to begin from: one for each framework. docs/recipes.md shows them."""

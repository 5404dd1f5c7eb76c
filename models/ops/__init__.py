"""Pure functions on arrays: each file gives the equation, a readable `*_reference`, and the fast forms of one op."""

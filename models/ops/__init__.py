"""Pure functions on arrays: a file or a folder an op, with the equation, its adjoint, a reference and the fast forms.

In a folder these are equation.py and a file for each form, and dispatch.py says which form is taken. The ops share
chunked.py and linear_scan.py (recurrences), discretise.py, channels.py and packed.py, availability.py and platform.py
(which method is available where), and native/ (kernels in C++).
"""

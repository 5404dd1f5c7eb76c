"""One adapter a family of golden fixtures: our code under the weights' original names.

An adapter is called as adapter(inputs, weights, meta) with dictionaries of arrays, and returns a dictionary of outputs.
Sizes come from meta and from shapes alone, so that other fixtures of a family pass unchanged. Everything is a function
of the arrays, so that gradients reach inputs and weights alike.
"""

from tests.helpers.adapters import images, mamba, recurrent, rwkv4, scans, ssm, transformer

# fixture family -> {variant: adapter}; a variant is one of our forms of the same thing
ADAPTERS: dict = {}
for module in (images, mamba, recurrent, rwkv4, scans, ssm, transformer):
    ADAPTERS |= module.ADAPTERS

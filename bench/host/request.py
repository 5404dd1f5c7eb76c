"""A request, parsed and validated against its data, its models and the folder that it goes on in."""

from __future__ import annotations

from argparse import Namespace

from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.plan.request import Request, read_request
from lengthscale.bench.results import resume


def make_request(args: Namespace) -> Request:
    """Raises RequestError with all mistakes at once. With --download, the data are fetched if there are no others."""
    request, mistakes = read_request(args)
    if request.out:
        misplaced = resume.check_place(request.out)
        if not misplaced and not request.rerun:
            misplaced = resume.check_configuration(request.out, request.configuration())
        mistakes += misplaced
    if mistakes:
        raise RequestError(mistakes)
    return request

"""A request, parsed, and validated against its data, its models and the folder that it continues."""

from __future__ import annotations

from lengthscale.bench.plan import parse
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.plan.options import Given
from lengthscale.bench.plan.request import Request, read_request
from lengthscale.bench.results import resume


def make_request(given: Given) -> Request:
    """The request of `run` with these options (see plan/options.py).

    Raises RequestError with all mistakes at once. With --download, the data are fetched if there are no mistakes.
    """
    try:
        request, mistakes = read_request(given)
    except RequestError as error:
        out = given.get("out")
        raise RequestError([*error.mistakes, *(resume.check_place(parse.path(out)) if out else [])]) from None
    if request.out:
        misplaced = resume.check_place(request.out)
        if not misplaced and not request.rerun:
            misplaced = resume.check_configuration(request.out, request.configuration())
        mistakes += misplaced
    if mistakes:
        raise RequestError(mistakes)
    return request

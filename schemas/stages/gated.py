"""Steps whose numbers gate the run."""

from abc import abstractmethod
from collections.abc import Iterator

from pydantic import Field

from koopcast.spec import Problem
from schemas.expect import ExpectationError, Vocabulary, parse
from schemas.stages.base import NOT_IN_KEY, Inputs, Step


class GatedStep(Step):
    """What every step with scores has."""

    expect: list[str] = Field(default=[], json_schema_extra=NOT_IN_KEY)
    """Conditions such as `rmse(dynamics, lead=3) <= 0.5 * rmse(persistence, lead=3)`.

    One that fails ends the run with exit code 3.
    """

    @abstractmethod
    def vocabulary(self, inputs: Inputs) -> Vocabulary:
        """Return the words that conditions may use."""

    def faulty_conditions(self, inputs: Inputs) -> Iterator[Problem]:
        """Yield the conditions that are not of the grammar or use other words."""
        vocabulary = self.vocabulary(inputs)
        for index, text in enumerate(self.expect):
            try:
                parse(text, vocabulary)
            except ExpectationError as error:
                yield Problem(("expect", index), str(error))

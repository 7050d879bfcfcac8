"""Selections: the secrets that a program gets, each with the variable for it."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vault.common.errors import ProgramError
from vault.toolkit.client.secrets import Fetched, Secrets, all_of, none_below, reference
from vault.toolkit.client.variables import require_harmless, variable_of


@dataclass(frozen=True, slots=True)
class Selection:
    """Single secrets, and all secrets whose names begin with a prefix."""

    #: IDs or names of secrets, by their variables. These precede those of prefixes.
    single: Mapping[str, str]
    prefixes: Sequence[str]

    def fetch(self, secrets: Secrets) -> dict[str, Fetched]:
        """Return the secrets by their variables, with a request for single ones, and one for each prefix.

        Raises:
            ProgramError: A name gives no variable, or an improper one, or two names give the same one.
            ServiceRefusedError: The service refuses one of them, or there is none with a prefix.
            ServiceUnavailableError: The service cannot be reached, or cannot serve.
        """
        found: dict[str, Fetched] = {}
        for prefix in self.prefixes:
            below = secrets.fetch_below(prefix)
            if not below:
                raise none_below(prefix)
            named = {str(one.name): one for one in below}
            found |= {variable: named[name] for variable, name in self._variables(named, prefix, found)}
        references = [reference(text) for text in self.single.values()]
        single = all_of(secrets.fetch(references), list(self.single.values()))
        return found | dict(zip(self.single, single, strict=True))

    def versions(self, secrets: Secrets) -> dict[str, tuple[str, int]]:
        """Return the IDs and the newest versions of the secrets, by their variables, without fetching them.

        Raises ServiceRefusedError, ServiceUnavailableError and ProgramError.
        """
        wanted: dict[str, str] = {}
        for prefix in self.prefixes:
            names = [str(one.get("name")) for one in secrets.listed(prefix)]
            wanted |= dict(self._variables(names, prefix, wanted))
        described = {
            variable: secrets.describe(reference(text))
            for variable, text in {**wanted, **self.single}.items()
        }
        return {
            variable: (str(one.get("secret_id")), int(one.get("version", 0)))
            for variable, one in described.items()
        }

    def _variables(
        self, names: Iterable[str], prefix: str, taken: Container[str]
    ) -> Iterator[tuple[str, str]]:
        """Yield each of *names* below *prefix* after its variable, without variables of single secrets."""
        given: dict[str, str] = {}
        for name in names:
            variable = variable_of(name, prefix)
            if variable in self.single:
                continue
            require_harmless(variable, name)
            if variable in taken or variable in given:
                raise ProgramError(
                    f"{variable} would have the values of two secrets, one of them {name}",
                    hint=f"choose one, with --env {variable}=NAME",
                )
            given[variable] = name
            yield variable, name

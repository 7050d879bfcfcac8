"""A ramp to saturation: the number of users doubles until throughput stops growing."""

from locust import LoadTestShape, events
from locust.argument_parser import LocustArgumentParser
from mix import SteadyMix

__all__ = ["Ramp", "SteadyMix"]


@events.init_command_line_parser.add_listener
def _add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--most-users", type=int, default=128, help="Number of users in the last step.")
    parser.add_argument("--step-seconds", type=int, default=10, help="Length of each step in seconds.")


class Ramp(LoadTestShape):
    """A load shape that doubles the number of users with each step."""

    def tick(self) -> tuple[int, float] | None:
        """Return the number of users and the spawn rate per second, or None at the end."""
        options = self.runner.environment.parsed_options
        users = 2 ** int(self.get_run_time() / options.step_seconds)
        return (users, users) if users <= options.most_users else None

"""The command `mcp`: a server of the Model Context Protocol on standard input and output."""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING

import click

from vault import __version__
from vault.clients.mcp.tools import Answer, Tools
from vault.common.errors import VaultError
from vault.toolkit.cli.connection import service_options
from vault.toolkit.cli.output import Output, output_options
from vault.toolkit.client.service import Service

if TYPE_CHECKING:
    from mcp.server import MCPServer

_INSTRUCTIONS = (
    "Secret Manager keeps passwords, keys and tokens. These tools say which secrets there are and where you "
    "can use them; no tool returns a value. To use one, send your request to one of the usable hosts through "
    "the proxy that your environment names, without a credential."
)


@click.command
@service_options
@output_options
def mcp(service: Service, output: Output) -> None:
    """Tell agents which secrets they can use, without values.

    Serves the Model Context Protocol on standard input and output. The tools list and describe secrets, the
    hosts at which a broker can use them, and who knows them, as far as the token may. Needs the extra mcp of
    the package.
    """
    output.note("Serving agents until standard input ends")
    server(service).run("stdio")


def server(service: Service) -> "MCPServer[None]":
    """Return a server with the tools for the token of *service*.

    Raises:
        VaultError: The SDK is not installed.
    """
    try:
        from mcp.server import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
        from mcp.types import ToolAnnotations
    except ImportError:
        raise VaultError(
            "this command needs the package mcp", hint="install the extra mcp of the package"
        ) from None

    def answering(tool: Callable[..., Answer]) -> Callable[..., Answer]:
        """Return *tool* with refusals of the service as errors that the agent reads."""

        @wraps(tool)
        def answered(*arguments: object, **options: object) -> Answer:
            try:
                return tool(*arguments, **options)
            except VaultError as error:
                raise ToolError(str(error)) from None

        return answered

    made: MCPServer[None] = MCPServer(
        "secret-manager", version=__version__, instructions=_INSTRUCTIONS, log_level="WARNING"
    )
    for tool in Tools(service).all:
        made.add_tool(
            answering(tool), annotations=ToolAnnotations(read_only_hint=True), structured_output=True
        )
    return made

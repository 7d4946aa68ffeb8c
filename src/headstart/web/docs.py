"""The page that describes the API, from its OpenAPI description; it loads nothing from elsewhere."""

from typing import Any

from jinja2 import Environment, PackageLoader


def render_docs(openapi: dict[str, Any]) -> str:
    """Make the page `/docs`."""
    environment = Environment(
        loader=PackageLoader("headstart.web", "page"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    schemas = openapi["components"]["schemas"]
    operations = [
        {"path": path, "method": method.upper(), **operation}
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]
    shown = {
        name: schema
        for name, schema in schemas.items()
        if "properties" in schema and "Validation" not in name
    }
    return environment.get_template("docs.html.jinja").render(
        title=openapi["info"]["title"], operations=operations, schemas=shown
    )

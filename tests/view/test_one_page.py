"""A page joined from several files."""

from jvae.view.one_page import one_page


def test_styles_and_scripts_stand_where_they_are_named():
    folder = {
        "page.html": '<link rel="stylesheet" href="a.css"><p>\\1</p><script src="b.js"></script>'
        '<script src="c.d.js"></script><script src="https://example.org/e.js"></script>',
        "a.css": "p { margin: 0; }\n",
        "b.js": r'const slashes = "\n\1";' + "\n",
        "c.d.js": "",
    }
    assert one_page("page.html", folder.__getitem__) == (
        "<style>\np { margin: 0; }\n</style><p>\\1</p>"
        '<script>\nconst slashes = "\\n\\1";\n</script><script>\n</script><script src="https://example.org/e.js"></script>'
    )

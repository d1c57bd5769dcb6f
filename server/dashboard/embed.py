"""Puts the dashboard's files into one page without outside requests, and the page into a C source.

    embed.py FOLDER PAGE.c PAGE.html

The page's policy lets the browser run this very script and use this very style, by their digests, and talk to its own server;
all else is refused, whatever gets into the page.
"""
import base64
import hashlib
import pathlib
import sys

STYLES = ['uPlot.min.css', 'dashboard.css']
SCRIPTS = ['units.js', 'dom.js', 'server.js', 'lines.js', 'charts.js', 'chart_list.js', 'words.js', 'table.js', 'main.js']
LIBRARY = 'uPlot.iife.min.js'
LICENCE = 'uPlot.LICENSE'
BYTES_A_LINE = 32


def read(folder, name):
    return (folder / name).read_text(encoding='utf-8').strip() + '\n'


def refuse(text, what, *marks):
    """What would end an inline element early, or begin a comment in it."""
    for mark in marks:
        if mark in text.lower():
            sys.exit(f'embed.py: {what} has "{mark}", which must not stand inside a page')
    return text


def digest(text):
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def style(folder):
    return refuse('\n' + ''.join(read(folder, name) for name in STYLES), 'the style', '</style', '<!--', '@import', 'url(')


def scripts(folder):
    """uPlot with its licence, which asks to be in every copy; then our own files, in a scope of their own."""
    licence = read(folder, LICENCE)
    library = '\n/*\n' + refuse(licence, LICENCE, '*/') + '*/\n' + read(folder, LIBRARY)
    own = "\n(() => {\n'use strict';\n" + ''.join(read(folder, name) for name in SCRIPTS) + '})();\n'
    return [refuse(text, 'a script', '</script', '<!--') for text in (library, own)]


def put(page, mark, text):
    if page.count(mark) != 1:
        sys.exit(f'embed.py: index.html must have {mark} once, and has it {page.count(mark)} times')
    before, after = page.split(mark)
    return before + text + after


def build(folder):
    css, inline = style(folder), scripts(folder)
    policy = '; '.join(["default-src 'none'", 'script-src ' + ' '.join(map(digest, inline)), 'style-src ' + digest(css),
                        "connect-src 'self'", 'img-src data:', "base-uri 'none'", "form-action 'none'"])
    page = read(folder, 'index.html')
    page = put(page, '<!-- POLICY -->', f'<meta http-equiv="Content-Security-Policy" content="{policy}">')
    page = put(page, '<!-- STYLE -->', f'<style>{css}</style>')
    return put(page, '<!-- SCRIPT -->', '\n'.join(f'<script>{text}</script>' for text in inline))


def source(page):
    rows = (page[i:i + BYTES_A_LINE] for i in range(0, len(page), BYTES_A_LINE))
    return ('/* Made by server/dashboard/embed.py. */\n#include "server/dashboard/page.h"\n\n'
            'const unsigned char sp_dashboard_page[] = {\n'
            + ''.join('    ' + ', '.join(map(str, row)) + ',\n' for row in rows)
            + '};\n\nconst size_t sp_dashboard_page_bytes = sizeof sp_dashboard_page;\n')


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    page = build(pathlib.Path(sys.argv[1])).encode()
    pathlib.Path(sys.argv[2]).write_text(source(page), encoding='ascii')
    pathlib.Path(sys.argv[3]).write_bytes(page)


if __name__ == '__main__':
    main()

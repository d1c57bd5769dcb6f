// The page's elements. Text goes in as text alone, never as HTML: names and reasons may come from anyone.

function byId(id) {
    return document.getElementById(id);
}

// Changes only what differs, so that a selection in the page stays and screen readers hear of changes alone.
function setText(element, text) {
    if (element.textContent !== text)
        element.textContent = text;
}

function setShown(element, shown) {
    if (element.hidden === shown)
        element.hidden = !shown;
}

function setAttribute(element, name, value) {
    if (element.getAttribute(name) !== String(value))
        element.setAttribute(name, value);
}

function make(tag, { text, className } = {}, ...children) {
    const element = document.createElement(tag);
    if (text !== undefined)
        element.textContent = text;
    if (className !== undefined)
        element.className = className;
    element.append(...children);
    return element;
}

// As many children as there are items: those there stay, and fill(child, item) is called for each.
function fillList(parent, items, create, fill) {
    while (parent.children.length > items.length)
        parent.lastElementChild.remove();
    while (parent.children.length < items.length)
        parent.append(create());
    items.forEach((item, i) => fill(parent.children[i], item));
}

// A list of names with values: dt and dd in a div each.
function fillFacts(list, facts) {
    const create = () => make('div', {}, make('dt'), make('dd'));
    fillList(list, facts, create, (row, [name, value]) => {
        setText(row.children[0], name);
        setText(row.children[1], value);
    });
}

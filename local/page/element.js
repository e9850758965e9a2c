// Elements made of a name, attributes and text. Text is always set as text, so that what strangers send stays text.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function drawn(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

// Text that did not change is left alone, so that a selection in it survives and nothing is announced twice.
export function setText(made, text) {
  if (made.textContent !== text) made.textContent = text;
}

export function copyButton(text, label = "Copy") {
  const button = element("button", { type: "button", class: "small", click: async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not copied: select it by hand";
    }
    setTimeout(() => { button.textContent = label; }, 1500);
  } }, label);
  return button;
}

// One of several: the pressed chip. Returns a function that presses another.
export function chips(into, names, chosen, onChoose) {
  const buttons = Object.entries(names).map(([name, label]) => element("button", {
    type: "button", "data-name": name, "aria-pressed": String(name === chosen), click: () => { press(name); onChoose(name); },
  }, label));
  function press(name) {
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.name === name));
  }
  into.replaceChildren(...buttons);
  return press;
}

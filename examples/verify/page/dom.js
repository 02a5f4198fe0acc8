/** An element with properties and children. Text is never read as HTML. */
export const h = (tag, properties = {}, ...children) => fill(document.createElement(tag), properties, children)

/** The same in SVG. */
export const svg = (tag, properties = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children)

const fill = (element, properties, children) => {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value)
    } else if (value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : value)
    }
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== ""))
  return element
}

export const byId = (id) => document.getElementById(id)

/** Milliseconds for people: two digits that matter, three where there are more before the point. */
export const millis = (value) =>
  value === undefined
    ? "-"
    : value < 0.1
      ? `${Math.round(value * 1000)} µs`
      : value < 1
        ? `${value.toFixed(2)} ms`
        : value < 100
          ? `${value.toFixed(1)} ms`
          : value < 10_000
            ? `${Math.round(value)} ms`
            : `${(value / 1000).toFixed(1)} s`

export const clock = (date) => date.toLocaleTimeString([], { hour12: false })

const most = 60

/** Adds a line to what happened, the newest first. */
export const log = (text, kind = "") => {
  const list = byId("log")
  list.prepend(h("li", { class: kind }, h("time", {}, clock(new Date())), h("span", {}, text)))
  while (list.children.length > most) {
    list.lastElementChild.remove()
  }
}

/** Shows what went wrong, or nothing. */
export const complain = (id, text) => {
  const element = byId(id)
  element.textContent = text ?? ""
  element.hidden = text === undefined
}

/** Runs what a button starts, once at a time. The button keeps the focus, which a disabled one would lose. */
export const once = async (button, run) => {
  if (button.getAttribute("aria-disabled") === "true") {
    return
  }
  button.setAttribute("aria-disabled", "true")
  try {
    await run()
  } finally {
    button.removeAttribute("aria-disabled")
  }
}

import { byId, complain, h } from "./dom.js"

/** What a browser finds wrong with a form, with the names of the fields. */
export const invalid = (form) =>
  [...form.elements].flatMap((element) =>
    element.willValidate && !element.validity.valid
      ? [{ element, text: `${element.labels[0].textContent.trim()}: ${element.validationMessage}` }]
      : []
  )

/** Whether a form can be sent; says why where it can't. */
export const check = (form, errorId) => {
  const [first, ...others] = invalid(form)
  complain(errorId, first && [first, ...others].map(({ text }) => text).join(" "))
  first?.element.focus()
  return first === undefined
}

/** The numbers of a form by the names of their fields. */
export const numbers = (form) =>
  Object.fromEntries(
    [...form.elements].filter(({ type }) => type === "number").map((each) => [each.name, each.valueAsNumber])
  )

/** Lets one choose among the transports that there are, and keeps what was chosen. */
export const fillTransports = (id, names, title) => {
  const select = byId(id)
  const chosen = select.value
  select.replaceChildren(...names.map((name) => h("option", { value: name, selected: name === chosen }, title(name))))
}

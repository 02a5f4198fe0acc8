import { request } from "./api.js"
import { byId, complain, h, millis, once } from "./dom.js"
import { check, fillTransports } from "./forms.js"

const bar = (kind, from, to, total) => {
  const element = h("span", { class: `bar ${kind}` })
  element.style.left = `${(100 * from) / total}%`
  element.style.width = `${(100 * (to - from)) / total}%`
  return element
}

const row = (attempt, previous, total) => {
  const succeeded = attempt.outcome === "Success"
  const waited = previous === undefined ? "" : `waited ${millis(previous.delayMillis)}, then `
  return h(
    "li",
    { "data-outcome": attempt.outcome },
    h(
      "p",
      {},
      h("b", {}, `${attempt.attempt}`),
      ` ${waited}`,
      h("span", { class: succeeded ? "good" : "bad" }, attempt.outcome),
      ` after ${millis(attempt.endMillis - attempt.startMillis)}`
    ),
    h(
      "div",
      { class: "track", "aria-hidden": "true" },
      previous === undefined ? "" : bar("wait", previous.endMillis, attempt.startMillis, total),
      bar(succeeded ? "success" : "failed", attempt.startMillis, attempt.endMillis, total)
    )
  )
}

const show = ({ attempts, message, totalMillis }, succeeded) => {
  byId("timeline").replaceChildren(
    ...attempts.map((attempt, index) => row(attempt, attempts[index - 1], Math.max(totalMillis, 1)))
  )
  byId("axis").replaceChildren(
    ...["0", millis(totalMillis / 2), millis(totalMillis)].map((text) => h("span", {}, text))
  )
  const verdict = byId("retry-result")
  verdict.textContent = `${message}, ${millis(totalMillis)} after it began`
  verdict.className = `verdict ${succeeded ? "good" : "bad"}`
}

/** What was shown is not the answer to what is asked now. */
const clear = () => {
  byId("retry-result").textContent = ""
  byId("timeline").replaceChildren()
  byId("axis").replaceChildren()
}

const run = async (form) => {
  const { elements } = form
  const body = {
    failures: elements.failures.valueAsNumber,
    maxAttempts: elements.maxAttempts.valueAsNumber,
    initialBackoff: elements.initialBackoff.valueAsNumber,
    jitter: elements.jitter.checked,
    transport: elements.transport.value
  }
  try {
    show(await request("/retry_test", { method: "POST", body }), true)
  } catch (error) {
    if (error.body._tag === "RetriesExhausted") {
      show(error.body, false)
    } else {
      clear()
      complain("retry-error", error.message)
    }
  }
}

/** The form for retries, and their time line. */
export const makeRetries = () => {
  const form = byId("retry-form")
  const button = form.querySelector("button")
  form.addEventListener("submit", (event) => {
    event.preventDefault()
    if (!check(form, "retry-error")) {
      clear()
      return
    }
    once(button, () => {
      complain("retry-error")
      const verdict = byId("retry-result")
      verdict.textContent = "running"
      verdict.className = "verdict"
      return run(form)
    })
  })
  return {
    transports: (names, title) => fillTransports("retry-transport", names, title)
  }
}

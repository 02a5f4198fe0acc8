import { byId, complain, log, millis, once } from "./dom.js"
import { check, fillTransports, numbers } from "./forms.js"

/** Each line of an answer as it comes. */
const lines = async function* (response) {
  let rest = ""
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    const whole = (rest + chunk).split("\n")
    rest = whole.pop()
    yield* whole.map((line) => JSON.parse(line))
  }
}

/** A stream of one node, which can be cancelled. */
export const makeStream = (nodes) => {
  const form = byId("stream-form")
  const begin = form.querySelector("button[type=submit]")
  const cancel = byId("cancel-stream")
  const progress = byId("stream-progress")
  const result = byId("stream-result")
  let controller = new AbortController()

  const conclude = (transport, text, isGood) => {
    result.textContent = text
    result.className = `verdict ${isGood ? "good" : "bad"}`
    log(`${nodes.title(transport)}: a stream: ${text}`, isGood ? "good" : "bad")
  }

  const run = async () => {
    const fields = numbers(form)
    const transport = byId("stream-transport").value
    controller = new AbortController()
    let received = 0
    progress.max = fields.count
    progress.value = 0
    result.textContent = "begins"
    result.className = "verdict"
    try {
      const response = await fetch(`/stream/${transport}?${new URLSearchParams(fields)}`, { signal: controller.signal })
      if (!response.ok) {
        const { message } = await response.json()
        result.textContent = ""
        complain("stream-error", message)
        return
      }
      for await (const { index, millis: at, outcome } of lines(response)) {
        if (outcome === undefined) {
          received = index + 1
          progress.value = received
          result.textContent = `${received} of ${fields.count}`
        } else {
          conclude(transport, `${outcome} after ${received} of ${fields.count}, ${millis(at)}`, outcome === "Success")
        }
      }
    } catch {
      const why = controller.signal.aborted ? "cancelled" : "the app does not answer"
      conclude(transport, `${why} after ${received} of ${fields.count}`, controller.signal.aborted)
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault()
    if (!check(form, "stream-error")) {
      result.textContent = ""
      return
    }
    once(begin, async () => {
      cancel.disabled = false
      await run()
      cancel.disabled = true
    })
  })
  cancel.addEventListener("click", () => controller.abort())

  return { transports: (names, title) => fillTransports("stream-transport", names, title) }
}

import { echo } from "./api.js"
import { byId, complain, h, log, millis } from "./dom.js"
import { sample } from "./nodes.js"
import { makePlot, span } from "./plot.js"

/** How long the next echo waits after one has come back, in milliseconds. */
const pace = 400

const quantile = (sorted, part) => sorted[Math.min(Math.floor(part * sorted.length), sorted.length - 1)]

const segments = [
  ["browser", ({ browserMillis, totalMillis }) => browserMillis - totalMillis],
  ["http", ({ callMillis, totalMillis }) => totalMillis - callMillis],
  ["call", ({ callMillis, handlerMillis }) => callMillis - handlerMillis],
  ["handler", ({ handlerMillis }) => handlerMillis]
]

const hops = (timings) => {
  const parts = segments.map(([name, of]) => [name, Math.max(of(timings), 0)])
  const bar = h(
    "div",
    { class: "hops", role: "img", "aria-label": parts.map(([name, value]) => `${name} ${millis(value)}`).join(", ") },
    parts.map(([name, value]) => {
      const part = h("span", { class: name, title: `${name} ${millis(value)}` })
      part.style.flexGrow = value
      return part
    })
  )
  return [bar, h("span", { class: "parts" }, parts.map(([, value]) => millis(value)).join(" + "))]
}

/** The echoes: sent one by one or all the time, plotted, and counted. */
export const makeEchoes = (nodes) => {
  const series = new Map()
  const rows = new Map()
  const plot = makePlot(byId("plot"), series, nodes.title)
  const measure = () => document.querySelector("input[name=measure]:checked").value

  const row = (transport) => {
    const cells = Array.from({ length: 5 }, () => h("td", {}, "-"))
    const bars = h("td", { class: "hops-column" })
    const element = h(
      "tr",
      { "data-transport": transport },
      h("th", { scope: "row" }, sample(transport), nodes.title(transport)),
      ...cells,
      bars
    )
    byId("statistics").tBodies[0].append(element)
    return { cells, bars }
  }

  const add = (transport) => {
    if (!series.has(transport)) {
      series.set(transport, { points: [], downs: [], done: 0, failed: 0, failingSince: undefined })
      rows.set(transport, row(transport))
      loop(transport)
    }
  }

  const count = (transport) => {
    const { done, failed, points } = series.get(transport)
    const values = points.flatMap((point) => (point.failure === undefined ? [point[measure()]] : []))
    const sorted = values.toSorted((a, b) => a - b)
    const { cells } = rows.get(transport)
    const texts = [values.at(-1), quantile(sorted, 0.5), quantile(sorted, 0.99)].map(millis)
    for (const [index, text] of [...texts, done, failed].entries()) {
      cells[index].textContent = text
    }
    cells[4].classList.toggle("bad", failed > 0)
  }

  const keep = (transport, point) => {
    const own = series.get(transport)
    own.points = [...own.points.filter(({ at }) => at > point.at - span), point]
    own.downs = own.downs.filter(({ to = point.at }) => to > point.at - span)
  }

  const send = async (transport) => {
    const own = series.get(transport)
    const title = nodes.title(transport)
    try {
      const answer = await echo(transport, byId("message").value)
      const at = Date.now()
      // The first one over a new connection waits for its handshake: it is shown, and does not set the scale.
      const cold = own.points.at(-1)?.failure !== undefined || own.points.length === 0
      keep(transport, { at, cold, ...answer.timings })
      own.done += 1
      if (refusals.delete(transport)) {
        showRefusals()
      }
      rows.get(transport).bars.replaceChildren(...hops(answer.timings))
      nodes.echoed(transport, answer.timings.callMillis)
      if (own.failingSince !== undefined) {
        log(`${title}: echoes come back again, ${millis(at - own.failingSince)} after the first that failed`, "good")
        own.failingSince = undefined
      }
      count(transport)
      return answer
    } catch (error) {
      const at = Date.now()
      const tag = error.body._tag
      keep(transport, { at, failure: tag })
      own.failed += 1
      nodes.echoed(transport, undefined, `${tag} (${error.status})`)
      if (own.failingSince === undefined) {
        own.failingSince = at
        log(`${title}: an echo failed: ${tag}: ${error.message}`, "bad")
      }
      count(transport)
      throw error
    }
  }

  /** What became of echoes that somebody has sent, for as long as no later one has come back. */
  const refusals = new Map()
  const showRefusals = () =>
    complain("echo-error", refusals.size === 0 ? undefined : [...new Set(refusals.values())].join("; "))

  let live = true
  const loop = async (transport) => {
    if (live && !document.hidden && byId("message").validity.valid && nodes.status(transport) !== "absent") {
      // What failed has been counted and shown.
      await send(transport).catch(() => {})
    }
    setTimeout(() => loop(transport), pace)
  }

  byId("live").addEventListener("click", ({ currentTarget }) => {
    live = !live
    currentTarget.textContent = live ? "Pause" : "Go on"
  })

  for (const input of document.querySelectorAll("input[name=measure]")) {
    input.addEventListener("change", () => {
      plot.measure(measure())
      for (const transport of series.keys()) {
        count(transport)
      }
    })
  }

  byId("message").addEventListener("input", ({ currentTarget }) =>
    currentTarget.validity.valid ? showRefusals() : complain("echo-error", "Message: give it at least one character.")
  )

  byId("echo-form").addEventListener("submit", async (event) => {
    event.preventDefault()
    if (!byId("message").validity.valid) {
      byId("message").focus()
      complain("echo-error", "Message: give it at least one character.")
      return
    }
    const transports = nodes.transports()
    const sent = await Promise.allSettled(transports.map(send))
    for (const [index, { reason }] of sent.entries()) {
      if (reason !== undefined) {
        refusals.set(transports[index], reason.message)
      }
    }
    showRefusals()
    byId("answer").replaceChildren(
      ...sent.flatMap(({ value }) =>
        value === undefined
          ? []
          : [
              h(
                "span",
                {},
                `${nodes.title(value.transport)}: `,
                h("q", {}, value.echo),
                ` ${millis(value.timings.callMillis)}`
              )
            ]
      )
    )
  })

  return {
    add,
    /** A node went down, or came back. */
    status: (transport, status) => {
      const downs = series.get(transport)?.downs ?? []
      const last = downs.at(-1)
      if (status === "down" && (last === undefined || last.to !== undefined)) {
        downs.push({ from: Date.now() })
      } else if (status === "up" && last !== undefined && last.to === undefined) {
        last.to = Date.now()
      }
    }
  }
}

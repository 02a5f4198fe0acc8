import { request } from "./api.js"
import { byId, complain, h, millis, once } from "./dom.js"
import { check, numbers } from "./forms.js"

/** Results that stay on the page. */
const most = 16

const show = (what, transport, { calls, failures, p50Millis, p99Millis, perSecond }) => {
  const failed = Object.entries(failures).map(([tag, count]) => `${count} ${tag}`)
  const body = byId("measured").tBodies[0]
  body.prepend(
    h(
      "tr",
      {},
      h("th", { scope: "row" }, what),
      ...[transport, calls, perSecond, millis(p50Millis), millis(p99Millis)].map((text) => h("td", {}, String(text))),
      h("td", { class: failed.length > 0 ? "bad" : "" }, failed.length > 0 ? failed.join(", ") : "0")
    )
  )
  while (body.rows.length > most) {
    body.lastElementChild.remove()
  }
}

/** One form: what it asks for is measured over one transport after another, so that they don't disturb each other. */
const make = (id, path, nodes, transports, what) => {
  const form = byId(id)
  const button = form.querySelector("button")
  form.addEventListener("submit", (event) => {
    event.preventDefault()
    if (!check(form, "experiments-error")) {
      return
    }
    once(button, async () => {
      const body = numbers(form)
      for (const transport of transports()) {
        try {
          const measured = await request(`/${path}/${transport}`, { method: "POST", body })
          show(what(body), nodes.title(transport), measured)
        } catch (error) {
          complain("experiments-error", `${nodes.title(transport)}: ${error.message}`)
        }
      }
    })
  })
}

/** Calls as fast as they go, and over a bad network. */
export const makeExperiments = (nodes) => {
  make("load-form", "load", nodes, nodes.transports, ({ concurrency }) => `${concurrency} at a time`)
  make(
    "network-form",
    "network",
    nodes,
    () => nodes.transports().filter((transport) => transport !== "memory"),
    ({ latencyMillis, lossPercent }) => `${latencyMillis} ms each way, ${lossPercent} % lost`
  )
}

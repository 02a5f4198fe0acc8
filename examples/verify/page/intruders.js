import { request } from "./api.js"
import { byId, h, log, millis, once } from "./dom.js"

const intruders = [
  ["noCertificate", "No certificate"],
  ["otherCa", "A certificate of another CA"],
  ["wrongName", "A node under another name"],
  ["expired", "An expired certificate"],
  ["revoked", "A revoked certificate"],
  ["notAuthorized", "A good certificate, of somebody who may not"],
  ["plainText", "Plain text, without TLS"]
]

const sides = { local: "the app refused", remote: "the node refused" }

/** Those who may not call the nodes, and what becomes of them. */
export const makeIntruders = (nodes) => {
  const button = byId("intrude")
  const table = byId("intruders")

  const wires = () => nodes.transports().filter((transport) => transport !== "memory")

  const reset = () => {
    table.tHead.rows[0].replaceChildren(
      h("th", { scope: "col" }, "Who"),
      ...wires().map((transport) => h("th", { scope: "col" }, nodes.title(transport)))
    )
    table.tBodies[0].replaceChildren(
      ...intruders.map(([intruder, text]) =>
        h(
          "tr",
          { "data-intruder": intruder },
          h("th", { scope: "row" }, text),
          ...wires().map((transport) => h("td", { "data-transport": transport }, "-"))
        )
      )
    )
  }

  const attempt = async (transport, intruder) => {
    const cell = table.querySelector(`[data-intruder=${intruder}] [data-transport=${transport}]`)
    cell.textContent = "tries"
    try {
      const {
        admitted,
        message,
        millis: took,
        reason,
        refusedBy
      } = await request(`/intruders/${transport}/${intruder}`, { method: "POST" })
      cell.replaceChildren(
        h("b", { class: admitted ? "bad" : "good" }, admitted ? "GOT IN" : reason),
        h("span", { class: "why", title: message }, `${sides[refusedBy] ?? message}, ${millis(took)}`)
      )
      return admitted ? 1 : 0
    } catch (error) {
      cell.replaceChildren(h("b", { class: "bad" }, error.body._tag), h("span", { class: "why" }, error.message))
      return undefined
    }
  }

  button.addEventListener("click", () =>
    once(button, async () => {
      const result = byId("intruders-result")
      reset()
      result.textContent = "they try"
      result.className = "verdict"
      const pairs = wires().flatMap((transport) => intruders.map(([intruder]) => [transport, intruder]))
      const outcomes = await Promise.all(pairs.map(([transport, intruder]) => attempt(transport, intruder)))
      const known = outcomes.filter((outcome) => outcome !== undefined)
      const inside = known.reduce((sum, outcome) => sum + outcome, 0)
      const isGood = inside === 0 && known.length === outcomes.length
      result.textContent =
        inside > 0
          ? `${inside} of ${known.length} got in`
          : `${known.length} of ${outcomes.length} tried, and none got in`
      result.className = `verdict ${isGood ? "good" : "bad"}`
      log(`Intruders: ${result.textContent}`, isGood ? "good" : "bad")
    })
  )

  return { reset }
}

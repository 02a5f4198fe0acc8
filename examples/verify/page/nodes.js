import { request } from "./api.js"
import { byId, h, log, millis, once, svg } from "./dom.js"

const states = { backingOff: "backing off", unhealthy: "not serving" }

const words = { up: "running", down: "down", absent: "not here", unknown: "unknown" }

/** The line of a transport as in the plot, so that colour is not all that tells them apart. */
export const sample = (transport) =>
  svg(
    "svg",
    { class: `sample line-${transport}`, viewBox: "0 0 28 8", "aria-hidden": "true" },
    svg("line", { x1: 1, y1: 4, x2: 27, y2: 4 })
  )

/** The cards of the nodes. `onChange` hears of each node whose status is another than it was. */
export const makeNodes = (onChange) => {
  const cards = new Map()

  const act = async (card) => {
    const { title, transport } = card.node
    const what = card.node.status === "up" ? "kill" : "restart"
    try {
      update(await request(`/nodes/${transport}/${what}`, { method: "POST" }))
    } catch (error) {
      log(`${title}: ${what} failed: ${error.message}`, "bad")
    }
  }

  const make = (node) => {
    const status = h("span", { class: "status" })
    const target = h("span", { class: "mono" })
    const connection = h("p", { class: "connection quiet" })
    const last = h("span", { class: "last" }, "no echo yet")
    const button = h("button", { type: "button", onclick: () => once(button, () => act(card)) })
    const element = h(
      "li",
      { class: "card node", "data-transport": node.transport },
      h("div", { class: "node-head" }, h("h3", {}, sample(node.transport), node.title), status),
      h("p", { class: "quiet" }, node.wire),
      h("p", { class: "where" }, target, last),
      connection,
      button
    )
    const card = { element, status, target, connection, last, button, node: { ...node, status: undefined } }
    byId("nodes").append(element)
    cards.set(node.transport, card)
    return card
  }

  const update = (node) => {
    const card = cards.get(node.transport) ?? make(node)
    const before = card.node
    // A poll that was under way may tell what is no longer so.
    if (before.status !== undefined && before.since > node.since) {
      return
    }
    card.node = node
    card.element.dataset.status = node.status
    card.status.textContent = words[node.status]
    card.target.textContent = node.reason ?? node.target ?? ""
    card.button.textContent = node.status === "down" ? "Restart" : "Kill"
    card.button.setAttribute("aria-label", `${card.button.textContent} the ${node.title} node`)
    card.button.className = node.status === "down" ? "primary" : "danger"
    card.button.disabled = node.status === "absent"
    if (before.status !== node.status) {
      onChange(node, before.status)
    }
  }

  return {
    update: (nodes) => {
      nodes.forEach(update)
    },
    /** How the app's connections to them are. */
    connections: (all) => {
      for (const { reason, state, transport } of all) {
        const { connection } = cards.get(transport) ?? {}
        if (connection !== undefined) {
          connection.textContent = `connection ${states[state] ?? state}`
          connection.title = reason ?? ""
        }
      }
    },
    /** Nobody tells any more how the nodes are. */
    lost: () => {
      for (const card of cards.values()) {
        card.element.dataset.status = "unknown"
        card.status.textContent = words.unknown
        card.connection.textContent = ""
        card.button.disabled = true
      }
    },
    status: (transport) => cards.get(transport)?.node.status,
    title: (transport) => cards.get(transport)?.node.title ?? transport,
    transports: () =>
      [...cards.values()].filter(({ node }) => node.status !== "absent").map(({ node }) => node.transport),
    echoed: (transport, duration, failure) => {
      const { last } = cards.get(transport)
      last.textContent = failure ?? millis(duration)
      last.classList.toggle("bad", failure !== undefined)
    }
  }
}

import { followNodes, request } from "./api.js"
import { showCertificates } from "./certificates.js"
import { byId, log } from "./dom.js"
import { makeEchoes } from "./echo.js"
import { makeExperiments } from "./experiments.js"
import { makeIntruders } from "./intruders.js"
import { makeNodes } from "./nodes.js"
import { makeRetries } from "./retry.js"
import { makeStream } from "./stream.js"
import { makeTenants } from "./tenants.js"

const said = {
  down: (node) => log(`${node.title}: the node is down`, "bad"),
  up: (node, before) => log(`${node.title}: the node ${before === undefined ? "runs" : "runs again"}`, "good"),
  absent: (node) => log(`${node.title}: ${node.reason}`)
}

const nodes = makeNodes((node, before) => {
  if (node.status !== "absent") {
    echoes.add(node.transport)
    echoes.status(node.transport, node.status)
  }
  said[node.status](node, before)
})
const echoes = makeEchoes(nodes)
const retries = makeRetries()
const intruders = makeIntruders(nodes)
const stream = makeStream(nodes)
makeExperiments(nodes)
makeTenants(nodes)

/** The transports as the forms know them. */
let known = ""

const summarize = (text, kind) => {
  const summary = byId("summary")
  if (summary.textContent !== text) {
    summary.textContent = text
    summary.dataset.kind = kind
  }
}

followNodes(
  (all) => {
    nodes.update(all)
    showCertificates(all)
    const transports = nodes.transports()
    if (known !== transports.join()) {
      known = transports.join()
      retries.transports(transports, nodes.title)
      stream.transports(transports, nodes.title)
      intruders.reset()
    }
    const here = all.filter(({ status }) => status !== "absent")
    const up = here.filter(({ status }) => status === "up")
    summarize(
      up.length === here.length ? `all ${up.length} nodes run` : `${up.length} of ${here.length} nodes run`,
      up.length === here.length ? "good" : "bad"
    )
  },
  (error) => {
    if (byId("summary").dataset.kind !== "lost") {
      log("The app does not answer; this page goes on asking.", "bad")
    }
    nodes.lost()
    summarize(error.status === 0 ? "the app does not answer" : error.message, "lost")
  }
)

/** Asks how the connections are while somebody sees it, once a second. */
const followConnections = async () => {
  if (!document.hidden) {
    await request("/connections").then(nodes.connections, () => {})
  }
  setTimeout(followConnections, 1000)
}

followConnections()

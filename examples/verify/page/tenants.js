import { request } from "./api.js"
import { byId, complain, h, millis, once } from "./dom.js"

const row = (transport, { answered, asked, p50Millis, p99Millis, refusals, tenant }) => {
  const refused = Object.entries(refusals).map(([tag, count]) => `${count} ${tag}`)
  return h(
    "tr",
    { "data-tenant": tenant },
    h("th", { scope: "row" }, tenant),
    ...[transport, asked, answered].map((text) => h("td", {}, String(text))),
    h("td", { class: refused.length > 0 ? "bad" : "good" }, refused.length > 0 ? refused.join(", ") : "0"),
    ...[p50Millis, p99Millis].map((value) => h("td", {}, millis(value)))
  )
}

/** Two tenants of one node, over each wire. */
export const makeTenants = (nodes) => {
  const button = byId("run-tenants")
  button.addEventListener("click", () =>
    once(button, async () => {
      complain("tenants-error")
      const body = byId("tenants").tBodies[0]
      body.replaceChildren()
      for (const transport of nodes.transports().filter((each) => each !== "memory")) {
        try {
          const { tenants } = await request(`/tenants/${transport}`, { method: "POST" })
          body.append(...tenants.map((tenant) => row(nodes.title(transport), tenant)))
        } catch (error) {
          complain("tenants-error", `${nodes.title(transport)}: ${error.message}`)
        }
      }
    })
  )
}

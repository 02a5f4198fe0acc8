import { request } from "./api.js"
import { byId, h, log, once } from "./dom.js"

const hour = 3_600_000

const remaining = (notAfter) => {
  const hours = (Date.parse(notAfter) - Date.now()) / hour
  return hours < 0 ? "expired" : hours < 1 ? `in ${Math.round(hours * 60)} minutes` : `in ${Math.round(hours)} hours`
}

const copy = (text) => {
  const button = h(
    "button",
    {
      type: "button",
      class: "small",
      "aria-label": "Copy the fingerprint",
      onclick: async () => {
        await navigator.clipboard.writeText(text).then(
          () => {
            button.textContent = "Copied"
          },
          () => {
            button.textContent = "Not allowed"
          }
        )
        setTimeout(() => {
          button.textContent = "Copy"
        }, 1500)
      }
    },
    "Copy"
  )
  return button
}

const fact = (name, ...values) => [h("dt", {}, name), h("dd", {}, ...values)]

const certificate = (title, hint, certificate) =>
  h(
    "div",
    { class: "certificate" },
    h("h4", {}, title),
    h("p", { class: "quiet" }, hint),
    certificate === undefined
      ? h("p", {}, "Nothing was shown yet.")
      : h(
          "dl",
          {},
          fact("Subject", certificate.subject),
          fact(
            "Names",
            h(
              "ul",
              { class: "names" },
              certificate.names.map((name) => h("li", {}, name))
            )
          ),
          fact(
            "SHA-256",
            h("code", {}, certificate.fingerprint.match(/.{8}/g).join(" ")),
            copy(certificate.fingerprint)
          ),
          fact(
            "Expires",
            h(
              "span",
              { class: Date.parse(certificate.notAfter) < Date.now() + hour ? "bad" : "" },
              remaining(certificate.notAfter)
            ),
            h(
              "time",
              { class: "quiet", datetime: certificate.notAfter },
              new Date(certificate.notAfter).toLocaleString()
            )
          )
        )
  )

/** A button for what is done to who is who at one node. */
const action = ({ title, transport }, what, text, kind = "") => {
  const button = h(
    "button",
    {
      type: "button",
      class: `small ${kind}`,
      "aria-label": `${text}: ${title}`,
      onclick: () =>
        once(button, async () => {
          try {
            await request(`/nodes/${transport}/${what}`, { method: "POST" })
            log(`${title}: ${text.toLowerCase()}: done`, "good")
          } catch (error) {
            log(`${title}: ${text.toLowerCase()}: ${error.message}`, "bad")
          }
        })
    },
    text
  )
  return button
}

const actions = (node) =>
  h(
    "div",
    { class: "actions" },
    action(node, "rotate", "Give the node new keys"),
    node.access === "revoked"
      ? action(node, "renew", "Give the app new keys", "primary")
      : action(node, "revoke", "Revoke the app's certificate", "danger")
  )

const pair = ({ caller, certificate: own }) =>
  h(
    "div",
    { class: "pair" },
    certificate("The node", "shown to the app, which has it pinned", own),
    certificate("The app", "as the node saw it", caller)
  )

const none = ({ reason, title }) =>
  h(
    "div",
    {},
    h("h3", {}, title),
    h("p", { class: "quiet" }, reason ?? "None: nothing leaves the process, and nobody proves anything.")
  )

/** On a phone four pairs are much to scroll past. */
const openAtFirst = matchMedia("(min-width: 640px)").matches

/** Who proves what to whom, for each transport. */
export const showCertificates = (nodes) => {
  const shown = byId("certificates")
  const text = JSON.stringify(
    nodes.map(({ access, caller, certificate, reason }) => [access, caller, certificate, reason])
  )
  if (shown.dataset.shown === text) {
    return
  }
  const isOpen = (transport) =>
    shown.querySelector(`[data-transport=${transport}] details`)?.hasAttribute("open") ?? openAtFirst
  const items = nodes.map((node) =>
    h(
      "li",
      { class: "card", "data-transport": node.transport },
      node.certificate === undefined
        ? none(node)
        : h(
            "details",
            { open: isOpen(node.transport) },
            h(
              "summary",
              {},
              h("h3", {}, node.title),
              h("span", { class: "quiet" }, `expires ${remaining(node.certificate.notAfter)}`)
            ),
            node.access === "revoked" ? h("p", { class: "bad" }, "The app's certificate is revoked here.") : "",
            pair(node),
            actions(node)
          )
    )
  )
  shown.dataset.shown = text
  shown.replaceChildren(...items)
}

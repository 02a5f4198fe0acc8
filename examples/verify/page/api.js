/** An answer that is not a success, or none at all: then the status is 0. */
export class Refused extends Error {
  constructor(status, body) {
    super(body.message)
    this.status = status
    this.body = body
  }
}

/** Longer than anything that the app lets a request take. */
const patience = 60_000

/** One request for JSON. */
export const request = async (path, { body, method = "GET", signal } = {}) => {
  const late = AbortSignal.timeout(patience)
  let response
  try {
    response = await fetch(path, {
      method,
      signal: signal === undefined ? late : AbortSignal.any([signal, late]),
      ...(body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) })
    })
  } catch {
    throw new Refused(0, { _tag: "AppUnreachable", message: "the app does not answer" })
  }
  const answer = await response.json().catch(() => ({ _tag: "Unreadable", message: "the answer is not JSON" }))
  if (!response.ok) {
    throw new Refused(response.status, answer)
  }
  return answer
}

/** An echo, with the time that it took as seen from here. */
export const echo = async (transport, msg) => {
  const start = performance.now()
  const answer = await request(`/echo/${transport}?${new URLSearchParams({ msg })}`)
  return { ...answer, timings: { ...answer.timings, browserMillis: performance.now() - start } }
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

const visibilityChange = () =>
  new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }))

/**
 * Tells of the nodes whenever something changes, for ever, and of the app when it can't be reached. A page that nobody
 * sees does not ask: a browser has few connections to one app, and each poll holds one.
 */
export const followNodes = async (onNodes, onLost) => {
  let since
  let shown = new AbortController()
  document.addEventListener("visibilitychange", () => {
    shown.abort()
    shown = new AbortController()
  })
  for (;;) {
    while (document.hidden) {
      await visibilityChange()
    }
    const { signal } = shown
    try {
      const path = since === undefined ? "/nodes" : `/nodes?since=${since}`
      const view = await request(path, { signal })
      since = view.version
      onNodes(view.nodes)
    } catch (error) {
      if (!signal.aborted) {
        onLost(error)
        since = undefined
        await wait(1000)
      }
    }
  }
}

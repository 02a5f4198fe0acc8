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
export const request = async (path, { body, method = "GET" } = {}) => {
  let response
  try {
    response = await fetch(path, {
      method,
      signal: AbortSignal.timeout(patience),
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

/** Tells of the nodes whenever something changes, for ever, and of the app when it can't be reached. */
export const followNodes = async (onNodes, onLost) => {
  let since
  for (;;) {
    try {
      const view = await request(since === undefined ? "/nodes" : `/nodes?since=${since}`)
      since = view.version
      onNodes(view.nodes)
    } catch (error) {
      onLost(error)
      since = undefined
      await wait(1000)
    }
  }
}

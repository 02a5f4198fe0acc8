/** Middleware: what is done around the calls of all methods, on either side, and what this library brings of it. */
import { describe } from "@effect/vitest"
import type { Suite } from "./harness.js"
import { bearerTokens } from "./middleware/bearerTokens.js"
import { clients } from "./middleware/clients.js"
import { logging } from "./middleware/logging.js"
import { propagation } from "./middleware/propagation.js"
import { servers } from "./middleware/servers.js"

export const middleware = (suite: Suite): void => {
  describe("middleware", () => {
    servers(suite)
    clients(suite)
    bearerTokens(suite)
    logging(suite)
    propagation(suite)
  })
}

/** The contract of every transport: what callers and handlers may rely on, whatever carries their calls. */
import { describe } from "@effect/vitest"
import { admission } from "./admission.js"
import { backpressure } from "./backpressure.js"
import { calls } from "./calls.js"
import { cancellation } from "./cancellation.js"
import { clients } from "./clients.js"
import { compression } from "./compression.js"
import { deadlines } from "./deadlines.js"
import { endpoints } from "./endpoints.js"
import { errors } from "./errors.js"
import { handlerErrors } from "./handlerErrors.js"
import { handlers } from "./handlers.js"
import { make, type TransportSuiteOptions } from "./harness.js"
import { health } from "./health.js"
import { listeners } from "./listeners.js"
import { messageElements } from "./messageElements.js"
import { messages } from "./messages.js"
import { metadata } from "./metadata.js"
import { metadataLimits } from "./metadataLimits.js"
import { metadataRule } from "./metadataRule.js"
import { metrics } from "./metrics.js"
import { middleware } from "./middleware.js"
import { reflection } from "./reflection.js"
import { resilience } from "./resilience.js"
import { retries } from "./retries.js"
import { traces } from "./traces.js"

export type { TransportSuiteOptions } from "./harness.js"

/**
 * The tests of a transport. None of them knows a wire: listeners bind 127.0.0.1 and a port that the system chooses, and
 * clients are given the listener's `target`.
 */
export const transportSuite = <E>(name: string, options: TransportSuiteOptions<E>): void => {
  const suite = make(options)
  describe(name, () => {
    calls(suite)
    messages(suite)
    messageElements(suite)
    compression(suite)
    metadata(suite)
    metadataRule(suite)
    metadataLimits(suite)
    errors(suite)
    deadlines(suite)
    cancellation(suite)
    backpressure(suite)
    handlers(suite)
    listeners(suite)
    clients(suite)
    endpoints(suite)
    retries(suite)
    resilience(suite)
    metrics(suite)
    traces(suite)
    handlerErrors(suite)
    middleware(suite)
    health(suite)
    reflection(suite)
    admission(suite)
  })
}

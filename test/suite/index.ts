/**
 * The contract of every transport, as tests: for authors of wires, who run them on `@effect/vitest` over their own. May
 * change in a minor version, as what it tests may grow.
 *
 * @since 0.1.0
 */

export { type BoundarySuiteOptions, boundarySuite, type Door, throwing } from "./BoundarySuite.js"
export { type CredentialsSuiteOptions, credentialsSuite } from "./CredentialsSuite.js"
export { type TransportSuiteOptions, transportSuite } from "./TransportSuite.js"

/** What `Credentials` promises, over any transport with TLS: who is let in, and what changes while connections are open. */
import { describe } from "@effect/vitest"
import { authorizers } from "./credentials/authorizers.js"
import { connectionAge } from "./credentials/connectionAge.js"
import { corruption } from "./credentials/corruption.js"
import { encodings } from "./credentials/encodings.js"
import { type CredentialsSuiteOptions, make } from "./credentials/harness.js"
import { layers } from "./credentials/layers.js"
import { openConnections } from "./credentials/openConnections.js"
import { refusals } from "./credentials/refusals.js"
import { revocationLists } from "./credentials/revocationLists.js"
import { rotation } from "./credentials/rotation.js"
import { sourceAddresses } from "./credentials/sourceAddresses.js"
import { trustDomains } from "./credentials/trustDomains.js"

export type { CredentialsSuiteOptions } from "./credentials/harness.js"

/** The tests of a transport on credentials. */
export const credentialsSuite = <E>(name: string, options: CredentialsSuiteOptions<E>): void => {
  const suite = make(options)
  describe(`${name}, credentials`, () => {
    refusals(suite)
    revocationLists(suite)
    encodings(suite)
    rotation(suite)
    trustDomains(suite)
    openConnections(suite)
    connectionAge(suite)
    authorizers(suite)
    sourceAddresses(suite)
    layers(suite)
    corruption(suite)
  })
}

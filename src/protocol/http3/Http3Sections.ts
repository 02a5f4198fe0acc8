/** The head caches of one end of a connection. */
import type { Fields } from "../Fields.js"
import * as HeadCache from "../HeadCache.js"
import type { RequestHead, ResponseHead } from "../http/HttpFields.js"

export interface Known {
  readonly requests: HeadCache.HeadCache<RequestHead>
  readonly responses: HeadCache.HeadCache<ResponseHead>
  readonly trailers: HeadCache.HeadCache<Fields>
}

export const make = (): Known => ({
  requests: HeadCache.make(),
  responses: HeadCache.make(),
  trailers: HeadCache.make()
})

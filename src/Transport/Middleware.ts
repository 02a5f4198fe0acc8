/**
 * Middleware: one place for a rule that concerns all methods, on either side of a call.
 *
 * @since 0.1.0
 */

export {
  /**
   * @since 0.1.0
   * @category models
   */
  type BearerToken,
  /**
   * @since 0.1.0
   * @category models
   */
  type BearerTokenOptions,
  /**
   * @since 0.1.0
   * @category ready-made
   */
  bearerToken,
  /**
   * @since 0.1.0
   * @category ready-made
   */
  tokenEquals,
  /**
   * @since 0.1.0
   * @category models
   */
  type VerifyBearerTokenOptions,
  /**
   * @since 0.1.0
   * @category ready-made
   */
  verifyBearerToken
} from "./Middleware/BearerToken.js"
export {
  /**
   * @since 0.1.0
   * @category models
   */
  type ClientAround,
  /**
   * @since 0.1.0
   * @category models
   */
  type ClientBefore,
  /**
   * @since 0.1.0
   * @category models
   */
  type ClientCall,
  /**
   * @since 0.1.0
   * @category models
   */
  type ClientList,
  /**
   * @since 0.1.0
   * @category models
   */
  type ClientMiddleware,
  /**
   * @since 0.1.0
   * @category models
   */
  type ClientRequirements,
  /**
   * @since 0.1.0
   * @category type ids
   */
  ClientTypeId,
  /**
   * @since 0.1.0
   * @category constructors
   */
  client,
  /**
   * @since 0.1.0
   * @category models
   */
  type StreamCall,
  /**
   * @since 0.1.0
   * @category models
   */
  type UnaryCall
} from "./Middleware/ClientMiddleware.js"
export {
  /**
   * @since 0.1.0
   * @category models
   */
  type LoggingOptions,
  /**
   * @since 0.1.0
   * @category ready-made
   */
  logging,
  /**
   * @since 0.1.0
   * @category models
   */
  type Status
} from "./Middleware/Logging.js"
export {
  /**
   * @since 0.1.0
   * @category ready-made
   */
  propagate
} from "./Middleware/Propagate.js"
export {
  /**
   * @since 0.1.0
   * @category models
   */
  type Behind,
  /**
   * @since 0.1.0
   * @category models
   */
  type Done,
  /**
   * @since 0.1.0
   * @category models
   */
  type Next,
  /**
   * @since 0.1.0
   * @category models
   */
  type ServerAround,
  /**
   * @since 0.1.0
   * @category models
   */
  type ServerBefore,
  /**
   * @since 0.1.0
   * @category models
   */
  type ServerList,
  /**
   * @since 0.1.0
   * @category models
   */
  type ServerMiddleware,
  /**
   * @since 0.1.0
   * @category models
   */
  type ServerOnRequest,
  /**
   * @since 0.1.0
   * @category models
   */
  type ServerSteps,
  /**
   * @since 0.1.0
   * @category type ids
   */
  ServerTypeId,
  /**
   * @since 0.1.0
   * @category constructors
   */
  server
} from "./Middleware/ServerMiddleware.js"
export {
  /**
   * @since 0.1.0
   * @category models
   */
  type ValidationOptions,
  /**
   * @since 0.1.0
   * @category ready-made
   */
  validation
} from "./Middleware/Validation.js"

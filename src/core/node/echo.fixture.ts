/** A worker for the tests: sends back what it gets, or dies in the way it is told. */
import { getPriority } from 'node:os';

type Order = { throw?: boolean; exit?: boolean; fill?: Uint8Array; niceness?: boolean };

export function serve(post: (message: unknown) => void): (message: unknown) => void {
  return (message) => {
    const order = message as Order;
    if (order.throw) throw new Error('on purpose');
    if (order.exit) process.exit(3);
    order.fill?.fill(9);
    post(order.niceness === true ? getPriority() : message);
  };
}

/** A worker for the tests: sends back what it gets, or dies in the way it is told. */
type Order = { throw?: boolean; exit?: boolean; fill?: Uint8Array };

export function serve(post: (message: unknown) => void): (message: unknown) => void {
  return (message) => {
    const order = message as Order;
    if (order.throw) throw new Error('on purpose');
    if (order.exit) process.exit(3);
    order.fill?.fill(9);
    post(message);
  };
}

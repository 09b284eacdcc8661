//! An order book with price-time priority: the best price trades first, and at one price who came
//! first.

use {
    mosaik::{
        UniqueId,
        groups::{ApplyContext, LogReplaySync, StateMachine},
    },
    serde::{Deserialize, Serialize},
    std::collections::BTreeMap,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Side {
    Buy,
    Sell,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Instruction {
    /// Trades with what is there at `price` or better; what is left waits in the book. The
    /// order's number is the index of this command.
    Place {
        trader: String,
        side: Side,
        price: u64,
        quantity: u64,
    },
    /// Takes what is left of an order out of the book, if it is the trader's.
    Cancel { trader: String, order: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trade {
    pub(crate) price: u64,
    pub(crate) quantity: u64,
    pub(crate) buyer: String,
    pub(crate) seller: String,
}

/// What can be seen of the book.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct View {
    pub(crate) best_bid: Option<u64>,
    pub(crate) best_ask: Option<u64>,
    /// What waits, and what it is worth in all.
    pub(crate) open: usize,
    pub(crate) trades: Vec<Trade>,
}

/// An order's place in its queue: the better price first, then the lower number. Bids are turned
/// around so that the best is first on both sides.
type Place = (u64, u64);

#[derive(Debug)]
struct Open {
    trader: String,
    quantity: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Book {
    bids: BTreeMap<Place, Open>,
    asks: BTreeMap<Place, Open>,
    trades: Vec<Trade>,
}

impl Side {
    /// The price as its place in the queue of this side, and back.
    const fn rank(self, price: u64) -> u64 {
        match self {
            Self::Buy => u64::MAX - price,
            Self::Sell => price,
        }
    }
}

impl Book {
    fn queue(&mut self, side: Side) -> &mut BTreeMap<Place, Open> {
        match side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.asks,
        }
    }

    fn place(&mut self, number: u64, side: Side, limit: u64, mut order: Open) {
        let other = match side {
            Side::Buy => Side::Sell,
            Side::Sell => Side::Buy,
        };
        while order.quantity > 0 {
            let Some(mut best) = self.queue(other).first_entry() else {
                break;
            };
            let price = other.rank(best.key().0);
            let crosses = match side {
                Side::Buy => price <= limit,
                Side::Sell => price >= limit,
            };
            if !crosses {
                break;
            }
            let quantity = order.quantity.min(best.get().quantity);
            order.quantity -= quantity;
            best.get_mut().quantity -= quantity;
            let resting = best.get().trader.clone();
            if best.get().quantity == 0 {
                best.remove();
            }
            let (buyer, seller) = match side {
                Side::Buy => (order.trader.clone(), resting),
                Side::Sell => (resting, order.trader.clone()),
            };
            self.trades.push(Trade {
                price,
                quantity,
                buyer,
                seller,
            });
        }
        if order.quantity > 0 {
            self.queue(side).insert((side.rank(limit), number), order);
        }
    }

    fn cancel(&mut self, trader: &str, number: u64) {
        let is_it = |(_, other): &Place, open: &Open| *other == number && open.trader == trader;
        self.bids.retain(|place, open| !is_it(place, open));
        self.asks.retain(|place, open| !is_it(place, open));
    }
}

impl StateMachine for Book {
    type Command = Instruction;
    type Query = ();
    type QueryResult = View;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("example.order-book")
    }

    fn apply(&mut self, instruction: Instruction, ctx: &dyn ApplyContext) {
        match instruction {
            Instruction::Place {
                trader,
                side,
                price,
                quantity,
            } => {
                let number = ctx.committed().index().as_u64();
                self.place(number, side, price, Open { trader, quantity });
            }
            Instruction::Cancel { trader, order } => self.cancel(&trader, order),
        }
    }

    fn query(&self, (): ()) -> View {
        let best = |queue: &BTreeMap<Place, Open>, side: Side| {
            queue.first_key_value().map(|(place, _)| side.rank(place.0))
        };
        View {
            best_bid: best(&self.bids, Side::Buy),
            best_ask: best(&self.asks, Side::Sell),
            open: self.bids.len() + self.asks.len(),
            trades: self.trades.clone(),
        }
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(book: &mut Book, number: u64, trader: &str, side: Side, price: u64, quantity: u64) {
        let trader = trader.to_owned();
        book.place(number, side, price, Open { trader, quantity });
    }

    #[test]
    fn the_better_price_trades_first_and_at_one_price_who_came_first() {
        let mut book = Book::default();
        order(&mut book, 1, "late", Side::Sell, 101, 5);
        order(&mut book, 2, "first", Side::Sell, 100, 5);
        order(&mut book, 3, "second", Side::Sell, 100, 5);
        order(&mut book, 4, "buyer", Side::Buy, 101, 12);
        let trades = book.trades.iter();
        let trades: Vec<_> = trades
            .map(|trade| (trade.seller.as_str(), trade.price, trade.quantity))
            .collect();
        assert_eq!(
            trades,
            [("first", 100, 5), ("second", 100, 5), ("late", 101, 2)]
        );
        assert_eq!(book.query(()).best_ask, Some(101));
    }

    #[test]
    fn what_does_not_cross_waits_until_it_is_cancelled_by_its_trader() {
        let mut book = Book::default();
        order(&mut book, 1, "a", Side::Buy, 99, 5);
        order(&mut book, 2, "b", Side::Sell, 100, 5);
        book.cancel("b", 1);
        assert_eq!(book.query(()).best_bid, Some(99));
        book.cancel("a", 1);
        assert_eq!((book.query(()).best_bid, book.query(()).open), (None, 1));
        assert_eq!(book.trades, []);
    }
}

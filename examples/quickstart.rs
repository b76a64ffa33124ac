//! A trip in three steps, run in this process: nothing is stored. `cargo run --example quickstart`
//!
//! The second trip finds no car, so what was booked for it is undone, last booking first.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use sagaz::prelude::*;
use serde::{Deserialize, Serialize};

struct TripBooking;

#[derive(Clone, Serialize, Deserialize)]
struct Trip {
    to: String,
}

#[saga(name = "trip-booking", input = Trip)]
impl TripBooking {
    // `atomic`: an error of this step means that nothing was booked.
    #[step(atomic)]
    async fn book_flight(&self, trip: &Trip) -> Result<String, StepError> {
        println!("  booked a flight to {}", trip.to);
        Ok(format!("FLIGHT-{}", trip.to))
    }

    #[compensate("book_flight")]
    async fn cancel_flight(&self, book_flight: &String) -> Result<(), StepError> {
        println!("  cancelled {book_flight}");
        Ok(())
    }

    #[step(atomic, depends_on = ["book_flight"])]
    async fn book_hotel(&self, book_flight: &String) -> Result<String, StepError> {
        println!("  booked a hotel for the guest of {book_flight}");
        Ok("ROOM-7".to_owned())
    }

    #[compensate("book_hotel")]
    async fn cancel_hotel(&self, book_hotel: &String) -> Result<(), StepError> {
        println!("  cancelled {book_hotel}");
        Ok(())
    }

    // The last step and atomic: if it fails there is nothing of it to undo, so it needs no compensation.
    #[step(atomic, depends_on = ["book_hotel"])]
    async fn rent_car(&self, trip: &Trip) -> Result<String, StepError> {
        match trip.to.as_str() {
            "Venice" => Err(StepError::permanent("there are no cars in Venice")),
            city => Ok(format!("CAR-{city}")),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    for city in ["Lisbon", "Venice"] {
        println!("A trip to {city}:");
        match TripBooking.run(Trip { to: city.to_owned() }).await {
            Outcome::Completed(trip) => println!("  done: {}, {}, {}", trip.book_flight, trip.book_hotel, trip.rent_car),
            Outcome::RolledBack(failure) => println!("  undone, because {failure}"),
            outcome => println!("  {outcome:?}"),
        }
    }
}

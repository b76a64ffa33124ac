//! A trip in three steps, run in this process. Venice has no cars, so hotel and flight are undone.
#![expect(clippy::print_stdout, reason = "a demonstration")]
use sagaz::prelude::*;
use serde::{Deserialize, Serialize};

struct TripBooking;

#[derive(Serialize, Deserialize)]
struct Trip {
    to: String,
}

#[saga(name = "trip-booking", input = Trip)]
impl TripBooking {
    // `atomic`: an error of this step means that nothing was booked.
    #[step(atomic)]
    async fn book_flight(&self, trip: &Trip) -> Result<String, StepError> {
        println!("booked a flight to {}", trip.to);
        Ok(format!("FLIGHT-{}", trip.to))
    }

    #[compensate("book_flight")]
    async fn cancel_flight(&self, book_flight: &String) -> Result<(), StepError> {
        println!("cancelled {book_flight}");
        Ok(())
    }

    #[step(atomic, depends_on = ["book_flight"])]
    async fn book_hotel(&self, book_flight: &String) -> Result<String, StepError> {
        println!("booked a hotel for the guest of {book_flight}");
        Ok("ROOM-7".to_owned())
    }

    #[compensate("book_hotel")]
    async fn cancel_hotel(&self, book_hotel: &String) -> Result<(), StepError> {
        println!("cancelled {book_hotel}");
        Ok(())
    }

    // The last step and atomic: if it fails, there is nothing of it to undo.
    #[step(atomic, depends_on = ["book_hotel"])]
    async fn rent_car(&self, trip: &Trip) -> Result<String, StepError> {
        if trip.to == "Venice" {
            return Err(StepError::permanent("no cars in Venice"));
        }
        Ok(format!("CAR-{}", trip.to))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    for to in ["Lisbon", "Venice"] {
        let outcome = TripBooking.run(Trip { to: to.into() }).await;
        match outcome.into_result() {
            Ok(trip) => println!("done: {}, {}", trip.book_flight, trip.rent_car),
            Err(why) => println!("{why}"),
        }
    }
}

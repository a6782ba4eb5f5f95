-- What there is to book. Counters go down with a booking, and up again with its undo.
CREATE TABLE flight_seats (flight text PRIMARY KEY, free integer NOT NULL CHECK (free >= 0));
CREATE TABLE hotel_rooms (hotel text PRIMARY KEY, free integer NOT NULL CHECK (free >= 0));
CREATE TABLE car_class (class text PRIMARY KEY, takes_back boolean NOT NULL DEFAULT true);
CREATE TABLE closed_ticket_office (flight text PRIMARY KEY);

-- One row a booking, by the saga that made it.
CREATE TABLE flight_booking (saga_id text PRIMARY KEY, flight text NOT NULL REFERENCES flight_seats, seats integer NOT NULL);
CREATE TABLE room_booking (saga_id text PRIMARY KEY, hotel text NOT NULL REFERENCES hotel_rooms, nights integer NOT NULL);
CREATE TABLE breakfast_booking (saga_id text PRIMARY KEY, hotel text NOT NULL, mornings integer NOT NULL);
CREATE TABLE car_booking (saga_id text PRIMARY KEY, class text NOT NULL REFERENCES car_class, days integer NOT NULL);
CREATE TABLE trip_charge (saga_id text PRIMARY KEY, cents integer NOT NULL);
CREATE TABLE ticket (saga_id text PRIMARY KEY, number bigint GENERATED ALWAYS AS IDENTITY, flight text NOT NULL, email text NOT NULL);

INSERT INTO flight_seats VALUES ('LH400', 100), ('BA117', 2);
INSERT INTO hotel_rooms VALUES ('Ritz', 50);
INSERT INTO car_class VALUES ('compact'), ('van');

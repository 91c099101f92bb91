"""Asset checks over data sources, the gate they make in front of writers, and the sensor that keeps them current."""

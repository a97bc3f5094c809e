"""What two processes must agree on, and the door to MQTT.

Vocabulary, wire messages, topics, codec, the one MQTT client, and the Mosquitto that we start. It imports nothing
else of ours, decides nothing, and touches no model, no configuration file and no database.
"""

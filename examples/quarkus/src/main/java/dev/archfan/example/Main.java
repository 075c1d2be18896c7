package dev.archfan.example;

import io.quarkus.runtime.QuarkusApplication;
import io.quarkus.runtime.annotations.QuarkusMain;
import jakarta.inject.Inject;

/** A Quarkus application in command mode: says where it runs, and ends. */
@QuarkusMain
public class Main implements QuarkusApplication {
    @Inject
    Machine machine;

    @Override
    public int run(String... arguments) {
        System.out.println("quarkus on " + machine.architecture());
        return 0;
    }
}

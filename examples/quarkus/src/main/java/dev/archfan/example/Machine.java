package dev.archfan.example;

import jakarta.enterprise.context.ApplicationScoped;

/** The machine that this runs on. */
@ApplicationScoped
public class Machine {
    /** Its architecture, as the Java runtime calls it. */
    public String architecture() {
        return System.getProperty("os.arch");
    }
}
